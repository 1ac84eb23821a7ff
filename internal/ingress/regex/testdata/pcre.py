r"""Runs patterns on PCRE2 as nginx does: 8 bits, no UTF, no options but CASELESS.

NO_AUTO_POSSESS and NO_START_OPTIMIZE are set too: these optimisations are to
change no result, but in 10.42 they do, the one for \R, \p and optional
possessive groups, the other where a look-ahead and what follows it begin with
the same byte.

Input: a line of JSON per pattern, {"pattern": hex, "fold": bool, "subjects": [hex]}.
Output: a line per pattern, {"code": n, "error": text, "at": n} or
{"results": [[offsets] or error code]}; -1 is no match.
"""
import ctypes
import json
import sys

lib = ctypes.CDLL("libpcre2-8.so.0")
size, ptr = ctypes.c_size_t, ctypes.c_void_p
lib.pcre2_compile_8.restype = ptr
lib.pcre2_compile_8.argtypes = [ctypes.c_char_p, size, ctypes.c_uint32, ptr, ptr, ptr]
lib.pcre2_match_data_create_from_pattern_8.restype = ptr
lib.pcre2_match_data_create_from_pattern_8.argtypes = [ptr, ptr]
lib.pcre2_match_8.argtypes = [ptr, ctypes.c_char_p, size, size, ctypes.c_uint32, ptr, ptr]
lib.pcre2_get_ovector_pointer_8.restype = ctypes.POINTER(size)
lib.pcre2_get_ovector_pointer_8.argtypes = [ptr]
lib.pcre2_get_ovector_count_8.argtypes = [ptr]
lib.pcre2_get_error_message_8.argtypes = [ctypes.c_int, ctypes.c_char_p, size]
lib.pcre2_code_free_8.argtypes = [ptr]
lib.pcre2_match_data_free_8.argtypes = [ptr]


def run(pattern, fold, subjects):
    code, at = ctypes.c_int(), size()
    re = lib.pcre2_compile_8(pattern, len(pattern), 0x14000 | (8 if fold else 0), ctypes.byref(code), ctypes.byref(at), None)
    if not re:
        text = ctypes.create_string_buffer(256)
        lib.pcre2_get_error_message_8(code, text, 256)
        return {"code": code.value, "error": text.value.decode(), "at": at.value}
    data = lib.pcre2_match_data_create_from_pattern_8(re, None)
    count = lib.pcre2_get_ovector_count_8(data)
    results = []
    for s in subjects:
        rc = lib.pcre2_match_8(re, s, len(s), 0, 0, data, None)
        if rc < 0:
            results.append([rc])
            continue
        v = lib.pcre2_get_ovector_pointer_8(data)[0 : 2 * count]
        results.append([-1 if x > 1 << 60 or i >= 2 * rc else x for i, x in enumerate(v)])
    lib.pcre2_match_data_free_8(data)
    lib.pcre2_code_free_8(re)
    return {"results": results}


for line in sys.stdin:
    q = json.loads(line)
    print(json.dumps(run(bytes.fromhex(q["pattern"]), q["fold"], [bytes.fromhex(s) for s in q["subjects"]])))
