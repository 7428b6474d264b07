"""Support of a `.tflite` file's operations by mobile GPUs, Edge TPUs and CPUs."""
