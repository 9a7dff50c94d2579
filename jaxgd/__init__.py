"""jaxgd: gradient descent on any differentiable JAX loss, from one call."""

from jaxgd import engines
from jaxgd.descend import descend
from jaxgd.minimize import minimize
from jaxgd.pytree import number, pytree, static
from jaxgd.record import History, Record
from jaxgd.result import Result
from jaxgd.rules import *
from jaxgd.schedules import *
from jaxgd.status import RunFailed, Status
from jaxgd.stop import Stop
