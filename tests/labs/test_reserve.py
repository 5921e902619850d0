"""Lab 15: typical mistakes are told apart."""

import numpy as np

from fewbits.labs import reserve as lab
from helpers.labs import tell_apart


def test_mistakes_in_bytes():
    def bytes_by(weights, biases=32):
        return lambda units, bits: sum(weights(n * m, bits) + biases * m // 8 for n, m in zip(units, units[1:]))

    def from_the_input(units, bits):
        return sum(units[0] * m * bits // 8 + 4 * m for m in units[1:])

    def once(units, bits):
        weights = sum(n * m for n, m in zip(units, units[1:]))
        return -(-weights * bits // 8) + 4 * sum(units[1:])

    tell_apart(
        (lab.check_chain_bytes, bytes_by(lambda n, bits: n * bits // 8, biases=0), "a bias of 32 bits"),
        (lab.check_chain_bytes, from_the_input, "the layer before it"),
        (lab.check_chain_bytes, bytes_by(lambda n, bits: n), "share a byte"),
        (lab.check_chain_bytes, bytes_by(lambda n, bits: n * bits // 8), "how many bytes hold them"),
        (lab.check_chain_bytes, once, "round up for each layer"),
    )


def test_mistakes_in_decibels():
    def sqnr(centre=(True, True), factor=10, signal_after=False):
        def logit_sqnr(before, after):
            noise = after - before
            signal = after if signal_after else before
            signal, noise = (x - x.mean(1, keepdims=True) if taken else x for x, taken in zip((signal, noise), centre))
            return factor * np.log10(np.mean(signal**2) / np.mean(noise**2))

        return logit_sqnr

    tell_apart(
        (lab.check_logit_sqnr, sqnr(factor=20), "decibels are tens"),
        (lab.check_logit_sqnr, sqnr((False, True)), "is no signal"),
        (lab.check_logit_sqnr, sqnr((True, False)), "is no noise"),
    )
    tell_apart((lab.check_logit_sqnr, sqnr(signal_after=True), "Power is the mean of squares"))


def test_mistakes_in_the_noise():
    def decibels_of(before, noise):
        before, noise = (x - x.mean(1, keepdims=True) for x in (before, noise))
        return 10 * np.log10(np.mean(before**2) / np.mean(noise**2))

    def scaled(logits, noise, decibels, per=20, sign=1, measured=True, centred=True):
        now = decibels_of(logits, noise) if centred else 10 * np.log10(np.mean(logits**2) / np.mean(noise**2))
        if not measured:
            now = now if np.std(noise) < 2 else now + 20 * np.log10(7)
        return logits + noise * 10 ** (sign * (now - decibels) / per)

    def other_draw(logits, noise, decibels):
        return scaled(logits, np.random.default_rng(1).normal(size=noise.shape), decibels)

    tell_apart(
        (lab.check_add_noise, lambda logits, noise, decibels: logits + 2 * noise, "right strength already"),
        (
            lab.check_add_noise,
            lambda x, noise, decibels: scaled(x, noise, decibels, per=10),
            "a hundred times less power",
        ),
        (lab.check_add_noise, lambda x, noise, decibels: scaled(x, noise, decibels, measured=False), "measure it"),
        (lab.check_add_noise, other_draw, "the given draw"),
    )


def test_noise_with_a_common_part_is_weaker_than_it_looks():
    def scaled(logits, noise, decibels):
        centred = logits - logits.mean(1, keepdims=True)
        now = 10 * np.log10(np.mean(centred**2) / np.mean(noise**2))
        return logits + noise * 10 ** ((now - decibels) / 20)

    tell_apart((lab.check_add_noise, scaled, "neither in the signal nor in the noise"))


def test_mistakes_in_the_lead():
    def lead(logits, other=-2, middle=np.median, centre=True, over=True):
        ordered = np.sort(logits, 1)
        gaps = ordered[:, -1] - ordered[:, other]
        centred = logits - logits.mean(1, keepdims=True) if centre else logits
        return middle(gaps) / (np.sqrt(np.mean(centred**2)) if over else 1)

    tell_apart(
        (lab.check_median_lead, lambda logits: lead(logits, over=False), "their difference, over"),
        (lab.check_median_lead, lambda logits: lead(logits, other=0), "over the second highest"),
        (lab.check_median_lead, lambda logits: lead(logits, middle=np.mean), "Take the median"),
        (lab.check_median_lead, lambda logits: lead(logits, centre=False), "no size either"),
    )


def test_mistakes_in_the_comparison():
    def numbers(four):
        return [np.asarray(answers, float) for answers in four]

    def extra(*four, order=1, independent=False, root=True):
        a, b, c, d = numbers(four)
        each = order * ((c - d) - (a - b))
        n = len(each)
        spread = np.sqrt(np.var(c - d) + np.var(a - b)) if independent else each.std()
        return each.mean(), 1.96 * spread / (np.sqrt(n) if root else 1)

    def after_only(*four):
        _, b, _, d = numbers(four)
        return (b - d).mean(), 0.0

    tell_apart(
        (lab.check_extra_loss, lambda a, b, c, d: (np.mean(c ^ a), 0.0), "does not subtract bools"),
        (lab.check_extra_loss, lambda a, b, c, d: (abs(extra(a, b, c, d)[0]), 0.0), "the result is negative"),
        (lab.check_extra_loss, lambda a, b, c, d: after_only(a, b, c, d), "cannot lose that image"),
        (
            lab.check_extra_loss,
            lambda a, b, c, d: extra(a, b, c, d, independent=True),
            "image by image there is no difference",
        ),
        (lab.check_extra_loss, lambda a, b, c, d: extra(a, b, c, d, root=False), "shrinks with the root"),
    )
