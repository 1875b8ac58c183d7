"""What can go wrong, in the three kinds that a caller treats differently."""


class LictorError(Exception):
    """A failure that is explained to the user in one line; `exit_code` is what the process ends with."""

    exit_code = 1


class Refused(LictorError):
    """The input is wrong, and trying again will not help: name the key, what was given and what is allowed.

    Of several things that are wrong, `texts` has one each.
    """

    def __init__(self, *texts: str) -> None:
        super().__init__("\n".join(texts))
        self.texts = texts


class Unavailable(LictorError):
    """Consul, Docker or nginx gave no answer that can be trusted; a later try may succeed."""

    exit_code = 75

    def __init__(self, text: str, *, after_s: float = 0.0) -> None:
        super().__init__(text)
        self.after_s = after_s  # who gave no answer asks not to be tried again sooner


class Overlong(Unavailable):
    """The answer was too long, or took too long: one about fewer objects may come."""


class NotYet(Unavailable):
    """The request waits for something that is under way; the same one is soon taken, if nothing fails."""


class Conflict(Unavailable):
    """Somebody else changed it first (compare-and-set lost, name taken): observe again, then decide again."""


class CommandFailed(LictorError):
    """A program that was run failed. `argv`, `code` (None: its time ran out), `stdout`, `stderr` say how."""

    def __init__(self, argv: list[str], code: int | None, stdout: str, stderr: str) -> None:
        how = "ran out of time" if code is None else f"exit code {code}"
        super().__init__(f"{argv[0]}: {how}: {stderr.strip() or stdout.strip() or 'no output'}")
        self.argv, self.code, self.stdout, self.stderr = argv, code, stdout, stderr
