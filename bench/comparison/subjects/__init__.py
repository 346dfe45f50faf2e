"""What is measured, one module per subject.

A subject is a module with NAME, ABOUT and `measure(laboratory, options)`,
which returns the rows of its part of the table.
"""

from . import latency, memory, start, stream, tcp, udp, vde

# In the order of the table.
ALL = (tcp, udp, vde, stream, latency, start, memory)
