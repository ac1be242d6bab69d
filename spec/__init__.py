"""What a network is: a strict YAML language, its typed form, its shapes, its weights and its inputs."""
