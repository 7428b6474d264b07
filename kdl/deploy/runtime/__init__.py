"""`.tflite` files run in LiteRT's interpreter. Needs no Keras."""
