"""The processes that measure. They run in every environment: the standard library and uvloop.

A library is imported where it is measured.
"""
