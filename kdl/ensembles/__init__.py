"""Ensembles of Keras models, with scikit-learn's interface."""

import keras  # first: what Keras registers imports the rooms, in their own order
