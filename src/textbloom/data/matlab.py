"""Vectors of whole numbers in MATLAB files."""

import warnings
from pathlib import Path

from scipy.io import loadmat

from textbloom.core.errors import UserError
from textbloom.data.archives import MEND


def vector(path: Path, name: str) -> list[int]:
    """The whole numbers of the variable `name`, flattened. Raises UserError, naming the file, where that is not there.

    Only compressed variables, as the published ones are, have a checksum: damage elsewhere may go unnoticed here.
    """
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("error")  # scipy warns of data after a variable's end
            values = loadmat(file, variable_names=[name])[name].ravel()
        numbers = [int(value) for value in values]
        if any(number != value for number, value in zip(numbers, values, strict=True)):
            raise ValueError("not whole numbers")
        return numbers
    except FileNotFoundError:
        raise UserError(f"{path.name} is missing: {MEND}") from None
    except Exception as error:  # scipy's reader raises nearly anything on damaged bytes
        raise UserError(f"{path.name}: no readable {name!r} in it ({error!r}): {MEND}") from None
