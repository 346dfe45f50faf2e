"""The parts of `bench/compare`: see `command_line` for the order of things."""
