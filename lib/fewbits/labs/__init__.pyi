from . import checking as checking
from . import fixed_point as fixed_point
from .checking import Case as Case
from .checking import GapOpen as GapOpen
from .checking import WrongAnswer as WrongAnswer
from .checking import check_cases as check_cases
from .checking import equals as equals
