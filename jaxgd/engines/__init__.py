"""Engines: how a run advances on the device. All that is known of XLA's insides lives here."""

from jaxgd.engines.plain import Plain

__all__ = ["Plain"]
