"""From a Keras model to a `.tflite` file, and the proof that both answer alike."""
