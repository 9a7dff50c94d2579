"""The live bar that `progress=True` shows."""

from typing import Any

from jaxgd.schedules import rate_at


class Bar:
    """A tqdm bar with step, loss and learning rate; in a notebook a widget, if one is there."""

    def __init__(self, first: int, total: int, rate: Any) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise ImportError(
                "progress=True needs tqdm: pip install tqdm, or jaxgd[progress]"
            ) from error
        self._rate = rate
        self._bar = tqdm(initial=first, total=total, unit=" steps", unit_scale=True)

    def show(self, step: int, loss: Any) -> None:
        """Move the bar to `step`."""
        shown = {"loss": f"{float(loss):.6g}"}
        if self._rate is not None:
            shown["rate"] = f"{float(rate_at(self._rate, step)):.3g}"
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(step - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
