"""Distillation: a network learns from the outputs of a teacher, too, which tell more about an image than its label."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from fewbits.backend import keras, ops
from fewbits.errors import InputError
from fewbits.training.batches import check_images
from fewbits.training.evaluation import outputs_of
from fewbits.training.heads import Head, head_of, logits_of


@dataclass(frozen=True)
class Distillation:
    """How much a network learns from a teacher.

    The loss of an image is (1 - share) * H + share * T**2 * KL(teacher / T || network / T). H is the cross-entropy of
    its label. The other term is the Kullback-Leibler divergence of the probabilities that follow from the logits of
    either network divided by the temperature T; T**2 keeps its gradients as large as those of H. For sigmoid outputs it
    is that of each label by itself, and the mean over labels.

    Attributes:
        share: Of the teacher in the loss: above 0, at most 1.
        temperature: Above 0; the higher it is, the more the outputs for other classes count.
        teacher: A network with as many outputs and the same kind of head, trained for the same images; it stays as it
            is. None for the float network that a schedule starts from.

    Raises:
        InputError: when share or temperature is out of range.

    Source:
        Hinton et al., 2015 (arXiv 1503.02531), section 2.

    Example:
        Train a quantized network, with the float network it was made from as its teacher::

            few_bits = quantize_model(model, formats=formats_for(model, images, (4, 4, 4)))
            train(few_bits, (images, labels), epochs=4, distillation=Distillation(0.5, 4.0, model))
    """

    share: float = 0.5
    temperature: float = 4.0
    teacher: keras.Model | None = None

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(f"the teacher's share must be above 0 and at most 1, not {self.share!r}")
        if not 0 < self.temperature < float("inf"):
            raise InputError(f"the temperature must be a positive number, not {self.temperature!r}")


class Lesson:
    """A distillation of one teacher into one network: the targets, the loss and the accuracy of its steps.

    Each target holds the label and then the logits of the teacher for the same, augmented image.
    """

    def __init__(self, distillation: Distillation, model: keras.Model, head: Head):
        """Take a teacher for `model`.

        Args:
            distillation: Names the teacher.
            model: The network that learns.
            head: Its head.

        Raises:
            InputError: when there is no teacher, its outputs do not fit, or it learns itself.
        """
        if distillation.teacher is None:
            raise InputError("distillation needs a teacher; name the float network in Distillation(teacher=...)")
        self.share, self.temperature, self.teacher = distillation.share, distillation.temperature, distillation.teacher
        self.head = head.before_activation
        theirs = head_of(self.teacher)
        if (theirs.exclusive, theirs.units) != (head.exclusive, head.units):
            raise InputError(
                f"the teacher {self.teacher.name} ends in {_described(theirs)}, and {model.name} in {_described(head)}"
                "; take a teacher with the same outputs"
            )
        learning = {id(variable) for variable in model.trainable_variables}
        if any(id(variable) in learning for variable in self.teacher.variables):
            raise InputError(f"the teacher {self.teacher.name} would learn with {model.name}; give a copy of it")
        self.network = logits_of(self.teacher) if theirs.activated else self.teacher

    @property
    def identity(self) -> list:
        """Share and temperature, and the SHA-256 of the teacher's weights."""
        digest = sha256()
        for weight in self.teacher.get_weights():
            digest.update(repr((weight.shape, weight.dtype.str)).encode())
            digest.update(np.ascontiguousarray(weight).data)
        return [self.share, self.temperature, digest.hexdigest()]

    def targets(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the targets of a batch, as the loss takes them.

        Args:
            images: (n, height, width, channels), as the network that learns gets them.
            labels: As in `Head.check_labels`.

        Returns:
            (n, columns of the label + units) float32.

        Raises:
            InputError: when the teacher takes images of another shape, or returns NaN or infinity.
        """
        check_images(self.teacher, images.shape[1:], "the training images")
        logits = outputs_of(self.network, images)
        if not np.isfinite(logits).all():
            raise InputError(f"the teacher {self.teacher.name} returns NaN or infinity; check its weights")
        of_labels = self.head.targets(labels).reshape(len(labels), -1)
        return np.concatenate([of_labels, logits], 1).astype(np.float32)

    def loss(self) -> Any:
        """Return the loss of `Distillation`, a function of targets and logits: (n,) in nats."""
        return self._loss_of_each

    def accuracy(self) -> keras.metrics.Metric:
        """Return the accuracy, by the labels, as a metric that is not built again when a model is compiled."""
        return keras.metrics.MeanMetricWrapper(self._accuracy_of_each, "accuracy")

    def _loss_of_each(self, targets: Any, logits: Any) -> Any:
        wanted = targets[:, -self.head.units :] / self.temperature
        soft = self.head.divergence_of_each(wanted, logits / self.temperature)
        return (1 - self.share) * self.head.loss_of_each(self._labels(targets), logits) + (
            self.share * self.temperature**2 * soft
        )

    def _accuracy_of_each(self, targets: Any, logits: Any) -> Any:
        if self.head.exclusive:
            return keras.metrics.sparse_categorical_accuracy(self._labels(targets), logits)
        return keras.metrics.binary_accuracy(self._labels(targets), logits, threshold=0.0)

    def _labels(self, targets: Any) -> Any:
        """Return the labels in the targets, as `Head.targets` has them."""
        return ops.cast(targets[:, 0], "int32") if self.head.exclusive else targets[:, : -self.head.units]


def _described(head: Head) -> str:
    return f"{head.units} {'classes' if head.exclusive else 'sigmoid units'}"
