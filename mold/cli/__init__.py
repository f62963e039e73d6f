"""The command line `mold`, made from the server's published model.

It speaks only the HTTP API and knows nothing of the cloud's code: every verb,
noun and parameter comes from the server's `listApis` answer, kept in a cache.
Modules import each other and heavy libraries late, so that a warm start stays
well under 200 ms.
"""
