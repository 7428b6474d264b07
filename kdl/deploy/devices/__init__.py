"""What mobile GPUs, Edge TPUs and processors run of a `.tflite` file."""
