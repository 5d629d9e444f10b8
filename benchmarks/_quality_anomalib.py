def compare(options, data, index, space):
    return {"name": None, "missing": "x"}, []
