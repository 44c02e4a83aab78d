"""The texts of RESULTS.md and of the results in README.md that do not depend on the results."""

from zoo.release import claims, intervals, published

LEGEND = "".join(f"- *{status}*: {meaning}.\n" for status, meaning in published.STATUSES.items())

RESULTS = """\
# Results

Every row is a recipe of `conf/experiment`, run by `zoo train experiment=NAME seed=SEED`. The settings of a recipe
were chosen on a validation split of 10,000 images, taken from the training images (`dataset.validation=10000`). Then
the recipe was trained on all 60,000 training images, once per seed, and evaluated on the test images. **Some recipes
were changed after a test result had been seen**: those in the table are marked *, and the earlier results of all are
listed under [Reopened recipes](#reopened-recipes); the test images were used more than once for such a recipe. Now the
result of a changed recipe is published only if the recipe lists the earlier results.

- **ours**: mean ± standard deviation over the seeds. The shipped checkpoint is that of the first seed, whether or not
  it is the best. The squared reconstruction error of an image is summed over its pixels. A log-likelihood is the mean
  of the estimates by annealed importance sampling (AIS) and by reverse AIS, for test images that are binarized once:
  each pixel is 1 with its gray value as the probability.
- **95 % interval**: of the mean; it covers the variation over seeds and test images. The variance of the mean is
  s²/k + v/n, with the standard deviation s over the k seeds and the variance v over the n test images: q(1 − q) for a
  fraction q of the images, else measured with the checkpoint. For fractions, it is the Wilson interval with the
  number of images that would give this variance; for other metrics, mean ± t·√variance; the degrees of freedom are
  those of Welch and Satterthwaite. The interval of a log-likelihood is widened on both sides by half of
  the difference between AIS and reverse AIS. All intervals assume independent seeds and independent test images
  ([formulas](zoo/release/intervals.py)); they do not account for recipes that were changed after a test result.
- **its paper**: the result of the paper of this net, or of the source of the recipe. **Best known**: the best result
  that we know for nets of this class. "-": we found nothing comparable. "†": a number whose source we could not read.
- **distortions**: those of the training images, in the paper / in ours.
- **compared**: ours with its paper / with the best known. "better" and "worse" are said only where our interval does
  not overlap that of the published number, which covers the test images only. "other conditions": only one of the two
  was trained with distortions, or the source does not say whether it was, or [Sources](#sources) names another
  difference after "differs". A different or unstated number of training images does not by itself make the conditions
  different.
- **goal**: the target that we set for the recipe.

`zoo reproduce NAME` re-evaluates a checkpoint and compares its metrics with those stored in `checkpoints/index.yaml`;
`zoo reproduce NAME --train` first trains the recipe again. `python -m zoo.release.results` writes this file, the
results in the README and in `docs/generative.md`, the figures and the model cards, from that index, the recipes, and
the checkpoints and stored tables in `checkpoints/`.

"""

HISTORY = """\
## Reopened recipes

Recipes that were changed after a test result had been seen, with every result that came before the present one. The
new settings were chosen on the validation split, unless the table says otherwise.

"""

EARLIER = "The recipe was changed after test results had been seen, so that the test images were used more than once:"

CODES = """\
## Latent codes of 30 numbers

The deep autoencoder and principal component analysis (PCA), each with 30 numbers for an image. The squared error is
summed over the pixels; mean and components of PCA are those of the 60,000 training images. Published for MNIST by
Hinton & Salakhutdinov 2006, caption of figure 2B: PCA 13.87, logistic PCA 8.01 (*secondary*).

"""

SAMPLES = """\
## Samples

What the shipped generative checkpoints draw, not selected: 100 samples each, after 1,000 steps of Gibbs sampling that
starts at noise, as `zoo sample checkpoint=NAME` draws them. A deep belief network with label units draws
one row for each class.

<img src="docs/images/generative.png" width="820" alt="Grids of samples, one panel for each checkpoint">
"""

SOURCES = """\
## Sources

Conditions of the published numbers, and command, hardware and distortions of ours. The run times are in the first
table; some recipes were timed while other runs shared the cores, as their headers say. The intervals of published
numbers cover the test images only. The status of a number says how we know it:

"""

README = """\
Test results on {datasets}. Each recipe was chosen on validation images, trained once per seed on all training images
and evaluated on the 10,000 test images; recipes marked * were changed after an earlier test result had been seen.
[RESULTS.md](RESULTS.md) has the protocol, the earlier results, and the sources and conditions of the published
numbers. "Ours" is the mean ± standard deviation over the seeds; the 95 % interval covers the variation over seeds and
test images. "Its paper" is the result of the paper of the net, or of the source of the recipe; "best known" is the best
result that we know for nets of this class. "†" marks a number whose source we could not read. "Distortions" are those
of the training images, in the paper / in ours. The last column compares ours with its paper / with the best known:
"better" and "worse" are said only where our interval does not overlap that of the published number, which covers the
test images only and is given in RESULTS.md; "other conditions": only one of the two was trained with distortions, the
source does not say whether it was, or something other than the number of training images differs. The reconstruction
error is summed over the pixels.

<img src="docs/images/results.png" width="820" alt="{alt}">

"""

_LIKE = "both or neither trained with distortions (which may differ)"
BEATEN_TITLE = "Papers whose number our mean beats"
BEATEN = {  # verdict on a published number that our mean beats -> the beginning of a line
    intervals.BETTER: f"{_LIKE}, with intervals that do not overlap",
    intervals.OVERLAP: f"{_LIKE}, with intervals that overlap",
    claims.OTHER: "under other conditions",
}

ALT = "Our test errors with 95 % intervals, and the published numbers, one row for each recipe"
