"""What a user can do wrong, said in one sentence."""


class InputError(ValueError):
    """An argument, a file or data that cannot be used; the message names it and says what to do."""
