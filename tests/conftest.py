"""What holds for all tests."""

import signal

# A suite that was started in the background ignores Ctrl-C, and so would every program that it starts to interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
