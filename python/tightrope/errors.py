"""The exceptions. Their messages are those of the command: what was wrong, where, and how to mend it."""


class TightropeError(Exception):
    """Any error of tightrope."""


class ConfigError(TightropeError, ValueError):
    """A configuration, a recipe or a setting that cannot be used."""


class InputError(TightropeError, ValueError):
    """An array, a radius or another argument that does not fit the network or the call."""


class ModelError(TightropeError, ValueError):
    """A model that cannot be read or used."""


class UnsupportedModule(ModelError, NotImplementedError):
    """A torch module with a part that has no counterpart here."""


class DataError(TightropeError, ValueError):
    """A data set that is not there or does not fit."""


class TrainingError(TightropeError, RuntimeError):
    """A training run that diverged, or whose folder cannot be used."""


class PropertyError(TightropeError, ValueError):
    """A VNN-LIB property that cannot be read."""


class VerificationError(TightropeError, RuntimeError):
    """A certification or verification that cannot be carried out."""


class CertificateError(TightropeError, ValueError):
    """A certificate that is damaged or proves nothing."""
