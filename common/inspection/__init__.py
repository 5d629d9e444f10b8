"""Judging parts with a saved model: verdicts, places of defects, overlays, a watched folder.

Everything is judged by `PatchCore.predict_each`, as `evaluate` does it: the scores are the same.
"""
