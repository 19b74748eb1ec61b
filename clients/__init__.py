"""One file a transport: how an application speaks each of them, on the library it would use."""
