"""The room under the doors: everything that FaceFusion can be asked for, as functions that return typed values.

A door (command line, script, REST) reads its settings, hands a `Backend` down, and prints or sends what it gets.
Nothing here prints, reads settings or knows a command line.
"""
