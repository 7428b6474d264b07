"""States of the backend's own random numbers, from which layers without a seed draw."""

import keras


def generator_states():
    """States of PyTorch's generators, the CPU's first, as lists of bytes; else an empty list.

    There Keras draws from them where a layer has no seed of its own. On TensorFlow and JAX all
    random numbers come from variables of the model.
    """
    if keras.backend.backend() != "torch":
        return []
    import torch

    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states += torch.cuda.get_rng_state_all()
    return [state.tolist() for state in states]


def restore_generators(states):
    """Sets PyTorch's generators to what `generator_states` told, as far as there are as many.

    Args:
        states: The list; of another backend it changes nothing.
    """
    if keras.backend.backend() != "torch" or not states:
        return
    import torch

    first, *others = (torch.tensor(state, dtype=torch.uint8) for state in states)
    torch.set_rng_state(first)
    if others and torch.cuda.is_available() and len(others) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(others)
