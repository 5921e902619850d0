"""Training that resumes to the same bits, evaluation, and schedules that lower the bits of a network step by step."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
