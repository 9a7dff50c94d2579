"""The live bar that `progress=True` shows."""


class Bar:
    """A tqdm bar; in a notebook a widget, if one is there."""

    def __init__(self, first: int, total: int, unit: str) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise ImportError(
                "progress=True needs tqdm: pip install tqdm, or jaxgd[progress]"
            ) from error
        self._bar = tqdm(initial=first, total=total, unit=f" {unit}", unit_scale=True)

    def show(self, reached: int, told: dict[str, str]) -> None:
        """Move the bar, and show some values behind it."""
        self._bar.set_postfix(told, refresh=False)
        self._bar.update(reached - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
