"""The names that options take, in one place and without Keras, so that the command line can list them at once."""

# The number format and the layers
ROUNDINGS = ("floor", "nearest", "nearest-up", "nearest-away", "stochastic", "thesis", "ceiling", "toward-zero")
LAYER_ROUNDINGS = ("floor", "nearest", "nearest-up", "nearest-away", "thesis")
INTEGER_ROUNDINGS = ("floor", "nearest", "nearest-up", "nearest-away")
OVERFLOWS = ("saturate", "wrap")
GRADIENTS = ("clipped", "identity")
KINDS = ("kernel", "input", "output", "bias")
BIAS_ORDERS = ("accumulator", "output")
RANGES = ("fixed", "learned", "learned-per-filter")
UNSUPPORTED = ("refuse", "float")  # what to do with layers that cannot be quantized

# Calibration: rules that set a range, other than a percentile
LEAST_ERROR = "mse"
LEAST_DIVERGENCE = "kl"
RANGE_RULES = (LEAST_ERROR, LEAST_DIVERGENCE)

# Training and its schedules
OPTIMIZERS = ("sgd", "adam", "rmsprop")
DECAYS = ("constant", "cosine", "staircase")
STRATEGIES = ("static", "all-at-once", "lock", "train", "gradual", "gradual-by-level")
LEVEL_ORDERS = ("input", "output", "random", "sensitivity")

# Pruning
CRITERIA = (
    "mean-activation",
    "activation-l2",
    "taylor",
    "taylor-averaged-first",
    "combined",
    "weights-l1",
    "weights-l2",
    "random",
)
GOALS = ("ratio", "weight_bytes", "macs")

# Data
PARTS = ("train", "validation", "test")
PART_FOLDERS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}  # part -> its folders
CHANNEL_ORDERS = ("rgb", "bgr", "gray")

# Networks and devices
POOLINGS = ("floor", "ceil")
PRECISIONS = ("float32", "float16", "int8", "int16x8")
LITERT_KERNELS = ("xnnpack", "optimized", "reference")
HLS4ML_BACKENDS = ("Vitis", "Vivado")
C_PACKAGES = ("plain", "arduino")
RUNTIMES = ("keras", "litert", "onnx", "c")
DEVICES = ("cortex-m0plus", "cortex-m4", "cortex-m7", "rv32imc")

# The book: how long its chapters run
PROFILES = ("smoke", "quick", "full")
