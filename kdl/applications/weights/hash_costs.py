"""Cost of hashing the keys in a pickle, from its opcodes, before any object is made."""

import pickletools

# The hash of a tuple is that of all in it, each as often as it is there: a tuple of twice the same
# tuple of twice the same tuple … is soon more than any computer reads.
_DEAREST_KEY = 1000
_CAP = 10**6
# Arguments of a call are copied, as often as the call is made.
_FREE_ARGUMENTS = 10**6
_ARGUMENTS_PER_OPCODE = 50

_MARK = None
_GETS = ("GET", "BINGET", "LONG_BINGET")
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_COMBINED = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET", "REDUCE", "BUILD")
_CALLS = ("REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ", "INST")


class HashCosts:
    """Follows the stack of an unpickler, with a cost in place of every object.

    The cost of a tuple is one and the costs of what it holds; lists and dictionaries, which have no
    hash, cost one.

    Example:
        >>> import pickle
        >>> costs = HashCosts()
        >>> for opcode, argument, _ in pickletools.genops(pickle.dumps({(1, 2): 3})):
        ...     costs.step(opcode, argument)
    """

    def __init__(self) -> None:
        self._stack = []
        self._memo = {}
        self._opcodes = 0
        self._arguments = 0

    def step(self, opcode: pickletools.OpcodeInfo, argument: object):
        """Take the next opcode of `pickletools.genops`.

        Raises:
            ValueError: If it uses a key that takes too long to hash.
            IndexError, KeyError: If the pickle is damaged.
        """
        self._opcodes += 1
        name = opcode.name
        if name in _PUTS or name == "MEMOIZE":
            self._memo[len(self._memo) if name == "MEMOIZE" else argument] = self._stack[-1]
        elif name in _GETS:
            self._stack.append(self._memo[argument])
        elif name == "MARK":
            self._stack.append(_MARK)
        elif name == "POP":
            self._stack.pop()
        elif name == "DUP":
            self._stack.append(self._stack[-1])
        else:
            self._apply(opcode, self._taken(opcode))

    def _taken(self, opcode):
        """Costs of what an opcode takes from the stack, without the mark."""
        before = opcode.stack_before
        count = len(before)
        items = []
        if pickletools.markobject in before:
            count = before.index(pickletools.markobject)
            while (cost := self._stack.pop()) is not _MARK:
                items.append(cost)
        for _ in range(count):
            items.append(self._stack.pop())
        return items[::-1]

    def _apply(self, opcode, items):
        if any(cost > _DEAREST_KEY for cost in _keys(opcode.name, items)):
            raise ValueError("it has a key that takes too long to hash")
        cost = min(1 + sum(items), _CAP)
        if opcode.name in _CALLS:
            self._arguments += cost
            if self._arguments > _FREE_ARGUMENTS + _ARGUMENTS_PER_OPCODE * self._opcodes:
                raise ValueError("it calls with more arguments than it has")
        combined = opcode.name in _COMBINED or opcode.name in _CALLS
        self._stack += [cost if combined else 1] * len(opcode.stack_after)


def _keys(name, items):
    """Costs of the keys and members among what an opcode takes."""
    if name == "SETITEM":
        return items[1:2]
    if name == "SETITEMS":
        return items[1::2]
    if name == "DICT":
        return items[::2]
    return items if name in ("ADDITEMS", "FROZENSET") else []
