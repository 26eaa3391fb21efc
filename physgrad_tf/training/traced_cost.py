"""What a traced function will cost, told from the shapes in its graph: the peak of its memory, and its operations.

A tensor is held from the operation that makes it to the last one that reads it. Operations that only name a tensor anew
(reshapes, reads of variables) take nothing, and element by element operations write into an input that nobody else
reads, as TensorFlow's executor does. Branches that could run side by side are counted one after the other.

A dimension that is unknown counts as 1, a loop whose number of rounds cannot be told as one round.
"""

from __future__ import annotations

import collections
import math
from typing import Any

import tensorflow as tf

#: Operations whose outputs are the memory of their first input: names, views, and lists that hold what was given them.
SAME_MEMORY = frozenset(
    """
    Reshape Identity IdentityN ExpandDims Squeeze StopGradient PreventGradient EnsureShape CheckNumerics Snapshot
    Bitcast ReadVariableOp TensorListFromTensor TensorListPushBack TensorListPopBack TensorListSetItem
    TensorListGetItem
    """.split()  # noqa: SIM905 (a list of words)
)
#: Operations that can write into an input of the same size.
IN_PLACE = frozenset(
    """
    Add AddV2 AddN Sub Mul RealDiv DivNoNan Neg Square Sqrt Rsqrt Exp Log Sin Cos Tanh TanhGrad Sigmoid
    SigmoidGrad Relu ReluGrad Softplus SoftplusGrad Pow Maximum Minimum Abs Sign Cast BiasAdd SelectV2
    SquaredDifference Elu EluGrad Selu SeluGrad Erf Reciprocal ReciprocalGrad
    """.split()  # noqa: SIM905 (a list of words)
)
#: Memory beside input and output while a decomposition runs, in units of its input: LAPACK's work space and copies.
WORKSPACE = {"PyFunc": 4.0, "PyFuncStateless": 4.0, "EagerPyFunc": 4.0, "Svd": 3.0, "SelfAdjointEigV2": 3.0}
LOOPS = ("While", "StatelessWhile")
#: Operations that run functions, and the attributes that name these.
FUNCTIONS = {
    "PartitionedCall": ("f",),
    "StatefulPartitionedCall": ("f",),
    "If": ("then_branch", "else_branch"),
    "StatelessIf": ("then_branch", "else_branch"),
    "Case": ("branches",),
    "StatelessCase": ("branches",),
    "While": ("body",),
    "StatelessWhile": ("body",),
}


def peak_bytes(graph: Any) -> int:
    """The most memory that what is made in the graph of a function takes at one time; its inputs are not counted.

    Args:
        graph: of a concrete function.
    """
    operations = in_order(graph)
    home: dict[str, str] = {}  # the tensor whose memory a tensor is
    for operation in operations:
        same = operation.type in SAME_MEMORY and len(operation.inputs)
        for place, tensor in enumerate(operation.outputs):
            source = operation.inputs[place if operation.type == "IdentityN" else 0] if same else tensor
            home[tensor.name] = home[source.name] if same else tensor.name
    readers = dict.fromkeys(home.values(), 0)
    for tensor in [*(tensor for operation in operations for tensor in operation.inputs), *graph.outputs]:
        readers[home[tensor.name]] += 1
    held: dict[str, int] = {}
    now = peak = 0
    for operation in operations:
        if operation.type == "Placeholder":
            continue
        made = {
            tensor.name: n_bytes(tensor) for tensor in operation.outputs if home[tensor.name] == tensor.name
        } | kept_lists(operation)
        released = 0
        for tensor in operation.inputs:
            memory = home[tensor.name]
            readers[memory] -= 1
            if not readers[memory]:
                released += held.pop(memory, 0)
        fresh = sum(made.values())
        reused = min(fresh, released) if operation.type in IN_PLACE else 0
        peak = max(peak, now + inside(operation) + fresh - reused)
        held |= {name: size for name, size in made.items() if readers[name]}
        now += sum(size for name, size in made.items() if readers[name]) - released
    return peak


def n_operations(graph: Any) -> int:
    """The floating-point operations of one run: 2mnk for a product of matrices, else one for every entry computed.

    The eigenvalues and vectors of an n × n matrix count as 9n³, a singular value decomposition with m ≥ n as 4m²n +
    22n³ (Golub and Van Loan, Matrix Computations, chapter 8).

    Args:
        graph: as in `peak_bytes`.
    """
    return sum(operations_of(operation) for operation in graph.get_operations())


def in_order(graph: Any) -> list[tf.Operation]:
    """The operations, each as soon as what it reads is there: first come, first served, as by TensorFlow's executor."""
    operations = graph.get_operations()
    missing = {operation.name: 0 for operation in operations}
    after: dict[str, list[tf.Operation]] = {name: [] for name in missing}
    for operation in operations:
        for earlier in {*(tensor.op.name for tensor in operation.inputs), *(o.name for o in operation.control_inputs)}:
            missing[operation.name] += 1
            after[earlier].append(operation)
    ready = collections.deque(operation for operation in operations if not missing[operation.name])
    order = []
    while ready:
        order.append(ready.popleft())
        for operation in after[order[-1].name]:
            missing[operation.name] -= 1
            if not missing[operation.name]:
                ready.append(operation)
    return order


def n_bytes(tensor: tf.Tensor) -> int:
    """How much a tensor takes; resources and lists nothing."""
    return n_entries(tensor) * tensor.dtype.size if tensor.dtype.is_numpy_compatible else 0


def n_entries(tensor: tf.Tensor) -> int:
    """How many entries a tensor has."""
    return math.prod(size or 1 for size in tensor.shape.as_list()) if tensor.shape.rank else 1


def bodies(operation: tf.Operation) -> list[Any]:
    """The graphs of the functions that an operation runs."""
    named = [operation.get_attr(name) for name in FUNCTIONS.get(operation.type, ())]
    return [operation.graph._get_function(function.name).graph for function in tf.nest.flatten(named)]


def inside(operation: tf.Operation) -> int:
    """What an operation takes beside its inputs and outputs while it runs."""
    made = sum(map(n_bytes, operation.outputs))
    below = max((peak_bytes(graph) for graph in bodies(operation)), default=0)
    workspace = WORKSPACE.get(operation.type, 0.0) * n_bytes(operation.inputs[0]) if len(operation.inputs) else 0.0
    if operation.type == "Einsum":  # makes its result in another order of axes first
        workspace = made
    return max(0, below - made) + round(workspace)


def kept_lists(operation: tf.Operation) -> dict[str, int]:
    """The lists that a loop fills, such as what its gradient will read, by output."""
    if operation.type not in LOOPS:
        return {}
    (body,) = bodies(operation)
    found = {}
    for output, last in zip(operation.outputs, body.outputs, strict=True):
        while last.op.type == "Identity":
            last = last.op.inputs[0]
        if last.op.type in ("TensorListPushBack", "TensorListSetItem"):
            found[output.name] = n_rounds(operation) * n_bytes(last.op.inputs[-1])
    return found


def n_rounds(loop: tf.Operation) -> int:
    """How often a loop runs, where it counts up to a constant; else 1."""
    cond, body = (loop.graph._get_function(loop.get_attr(name).name).graph for name in ("cond", "body"))
    given = dict(zip((tensor.name for tensor in cond.inputs), loop.inputs, strict=True))
    test = cond.outputs[0]
    while test.op.type in ("Identity", "LogicalAnd"):
        test = test.op.inputs[0]
    if test.op.type != "Less":
        return 1
    count, end = test.op.inputs
    limit, start = (tf.get_static_value(given.get(tensor.name, tensor)) for tensor in (end, count))
    if limit is None or start is None or count.name not in given:
        return 1
    after = body.outputs[[tensor.name for tensor in cond.inputs].index(count.name)]
    while after.op.type == "Identity":
        after = after.op.inputs[0]
    steps = [tf.get_static_value(tensor) for tensor in after.op.inputs] if after.op.type in ("AddV2", "Add") else []
    step = next((step for step in steps if step is not None and step > 0), None)
    return 1 if step is None else max(0, -int(-(limit - start) // step))


def operations_of(operation: tf.Operation) -> int:
    """The floating-point operations of one operation."""
    if operation.type in FUNCTIONS:
        below = max(map(n_operations, bodies(operation)))
        return below * n_rounds(operation) if operation.type in LOOPS else below
    if operation.type in SAME_MEMORY or not len(operation.inputs):
        return 0
    made = sum(n_entries(tensor) for tensor in operation.outputs if tensor.dtype.is_floating)
    first = operation.inputs[0].shape
    if operation.type == "MatMul":
        return 2 * made * (first[0 if operation.get_attr("transpose_a") else 1] or 1)
    if operation.type.startswith("BatchMatMul"):
        return 2 * made * (first[-2 if operation.get_attr("adj_x") else -1] or 1)
    if operation.type == "Einsum":
        return 2 * _all_labels(operation)
    if operation.type in ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter"):
        return 2 * _convolved(operation)
    if operation.type in ("PyFunc", "PyFuncStateless", "EagerPyFunc", "SelfAdjointEigV2") and first.rank == 2:
        return 9 * first[0] ** 3
    if operation.type == "Svd":
        n, m = sorted(first[-2:])
        return n_entries(operation.inputs[0]) // (m * n) * (4 * m * m * n + 22 * n**3)
    return made


def _all_labels(operation: tf.Operation) -> int:
    """The product of the sizes of all letters of an Einsum."""
    letters = operation.get_attr("equation").decode().split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for names, tensor in zip(letters, operation.inputs, strict=True):
        sizes |= dict(zip(names, tensor.shape.as_list(), strict=True))
    return math.prod(size or 1 for size in sizes.values())


def _convolved(operation: tf.Operation) -> int:
    """Output entries times entries of the filter per output channel, of a convolution or the same backwards."""
    outputs = operation.outputs[0] if operation.type == "Conv2D" else operation.inputs[2]
    kernel = operation.outputs[0] if operation.type == "Conv2DBackpropFilter" else operation.inputs[1]
    return n_entries(outputs) * math.prod(size or 1 for size in kernel.shape.as_list()[:-1])
