"""Program that reads one pickle in a process of its own, on the standard library alone.

No name in a pickle is imported: ``Unpickler.find_class`` returns a stand-in of this package, or refuses. The
child process imports this folder as ``sandbox``, without torch, which is why it imports itself relatively.
"""
