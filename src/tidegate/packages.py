"""Packages that Tidegate needs: what to say where one is missing or broken."""

from __future__ import annotations

PACKAGES = {
    "yaml": "PyYAML", "sklearn": "scikit-learn", "ruamel": "ruamel.yaml", "backports": "backports.zstd",
    "charset_normalizer": "charset-normalizer", "docstring_parser": "docstring-parser", "PIL": "pillow",
    "mpl_toolkits": "matplotlib", "google": "protobuf", "dateutil": "python-dateutil",
}  # fmt: skip
"""those whose modules have other names"""


def without_package(error: ImportError) -> str:
    """Return which package is missing or broken, and how it is installed."""
    module = (error.name or "").split(".")[0]
    package = PACKAGES.get(module, module)
    if isinstance(error, ModuleNotFoundError) and error.name == module:
        return f"The package {package} is missing: install it by pip install {package}."
    if not module:
        return f"A package cannot be loaded ({error}): install Tidegate and what it needs again."
    return f"The package {package} cannot be loaded ({error}): install it by pip install --force-reinstall {package}."
