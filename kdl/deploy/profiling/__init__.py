"""How long a `.tflite` file takes, in all and by operation, and what memory it needs."""
