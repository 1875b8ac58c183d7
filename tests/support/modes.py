"""The two ways in which new peers reach nginx."""

import pytest

in_both_modes = pytest.mark.parametrize("mode", ["reload", "live"])
