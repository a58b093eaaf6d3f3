"""The few errors of our own; each knows the exit code that the command ends with."""

# ruff: noqa: N818 - they are named for what happened
from __future__ import annotations


class PipelineError(Exception):
    """What stops the pipeline and is not the user's typing; the message says where, what was found and what to do."""

    exit_code = 1


class SourceUnavailable(PipelineError):
    """No mirror of a source gave its files; the message lists each mirror with its reason."""


class IntegrityError(PipelineError):
    """Bytes are not what they should be: a digest, a size or a count differs, or an archive is damaged."""

    exit_code = 4


class Refused(PipelineError):
    """A check before the work says no: terms not accepted, too little disk, an archive that would fill it."""

    exit_code = 3


class AssetMissing(Refused):
    """A model file of others is not here; the message says which, where it goes, its address and its licence."""


class WaitsForReview(PipelineError):
    """Faces wait for a person's word; the message says how many, and how to look at them."""

    exit_code = 5


class Diverged(PipelineError):
    """Training ran into a number that is not finite; the message names the first tensor that did."""

    exit_code = 7


class Stopped(PipelineError):
    """A training was asked to stop and has saved its step; the same command goes on from there."""

    exit_code = 143
