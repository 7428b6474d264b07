"""Export of a Keras model as a `.tflite` file, and the proof that their outputs match."""
