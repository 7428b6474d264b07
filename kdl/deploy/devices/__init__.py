"""What mobile GPUs, Edge TPUs and CPUs run of a `.tflite` file."""
