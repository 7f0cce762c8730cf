"""The paradox of certified training, and its way out, in three cells on the embedded digits (a minute on two cores).

Tighter bounds certify more of a network, yet networks that are trained on them are often certified less: the loss over a
tight relaxation is jagged (arXiv 2102.06700, arXiv 2403.07095). Smoothed over the parameters it can be trained on.
"""

# %% The settings: one network and schedule, four ways to bound the loss.
import tightrope

WAYS = {
    "IBP": {"name": "ibp"},
    "DeepPoly": {"name": "deeppoly"},
    "DeepPoly + RGS": {"name": "deeppoly", "smoothing": {"kind": "rgs", "sigma": 2e-3, "samples": 2}},
    "DeepPoly + PGPE": {"name": "deeppoly", "smoothing": {"kind": "pgpe", "sigma": 2e-3, "population": 8}},
}


def settings(way, epochs=6):
    way = dict(WAYS[way])
    smoothing = way.pop("smoothing", {})
    return {
        "dataset": "digits", "model": "mlp", "limit_train": 1000, "eps": 0.06, "method": way, "smoothing": smoothing,
        "train": {"epochs": epochs, "batch": 100}, "warmup": {"start": 0, "end": epochs // 2},
    }  # fmt: skip


# %% How much tighter the bounds are, on one network: the mean width of the logits' bounds.
def widths(net, data, eps=0.06):
    found = {}
    for method in ("ibp", "deeppoly", "alpha-crown"):
        lower, upper = net.bounds(data.x[:10], eps, method, clip=(0, 1))
        found[method] = float((upper - lower).mean())
    return found


# %% What training on them certifies; every network is certified by the same stages.
def certified(way, epochs=6, limit=500):
    net = tightrope.train(settings(way, epochs)).network
    stages = ["pgd", "ibp", "crown"]
    return net, tightrope.certify(net, "digits", 0.06, stages=stages, limit=limit)


def main(epochs=6, limit=500):
    import tightrope.data

    data = tightrope.data.load("digits")
    for way in WAYS:
        net, result = certified(way, epochs, limit)
        told = ", ".join(f"{method} {width:.2f}" for method, width in widths(net, data).items())
        print(f"{way:16} natural {result.natural:6.1%}  certified {result.certified:6.1%}  widths: {told}")


if __name__ == "__main__":
    main()
