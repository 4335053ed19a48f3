"""A second reading of the rules, to compare the library with.

Written from the text of the specification alone, on plain JSON, sentence by sentence, with no thought of speed: where
the two disagree, one of them has misread. Versions are plain numbers here, as in the text.
"""
