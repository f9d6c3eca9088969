"""The version of this package; apart, so that what notes it need not load the package's top."""

__version__ = "0.2.0"
