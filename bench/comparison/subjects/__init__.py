"""What is measured, one module per subject.

A subject is a module with NAME, ABOUT and `measure(laboratory, options)`,
which returns the rows of its part of the table.
"""

from . import (
    connect,
    dns,
    flows,
    gateway,
    latency,
    loss,
    memory,
    nic,
    routed,
    start,
    stream,
    tcp,
    udp,
    udp_rtt,
    vde,
)

# In the order of the table.
ALL = (
    tcp,
    nic,
    udp,
    vde,
    stream,
    latency,
    start,
    memory,
    gateway,
    connect,
    flows,
    udp_rtt,
    dns,
    routed,
    loss,
)
