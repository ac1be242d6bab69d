"""The gate: may this framework upgrade go in? One verdict over numerics and speed."""
