"""A certificate authority that a test makes, and the certificates that it signs."""

import subprocess
from pathlib import Path

_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """`certificate` is the file that trusts it."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name, self.certificate = folder, name, f"{folder}/{name}.pem"
        _openssl("req", "-x509", *_EC, "-subj", f"/CN={name}", "-keyout", f"{folder}/{name}.key", "-out",
                 self.certificate)

    def sign(self, host: str) -> tuple[str, str]:
        """Make a certificate for a host; returns its file, and that of its key."""
        path = f"{self._folder}/{self._name}-{host}"
        Path(f"{path}.ext").write_text(f"subjectAltName=DNS:{host}\n")
        _openssl("req", *_EC, "-subj", f"/CN={host}", "-keyout", f"{path}.key", "-out", f"{path}.csr")
        _openssl("x509", "-req", "-in", f"{path}.csr", "-CA", self.certificate, "-CAkey",
                 f"{self._folder}/{self._name}.key", "-extfile", f"{path}.ext", "-days", "2", "-out", f"{path}.pem")
        return f"{path}.pem", f"{path}.key"


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)
