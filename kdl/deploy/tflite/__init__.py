"""A `.tflite` file as it is stored: read, checked, described. Needs no Keras."""
