#!/bin/sh
# tests/wheel.sh VENV [PYTEST ARGUMENTS]: build a wheel into dist/, install it in an environment of its own, and run the
# tests there from a folder that has no source beside it. What it depends on is seen through VENV, downloaded once.
set -eu
venv=$1; shift
rm -rf build/wheel && mkdir -p build/wheel dist
"$venv/bin/python" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/wheel/new .
cp build/wheel/new/*.whl dist/
"$venv/bin/python" -m venv build/wheel/venv
python=build/wheel/venv/bin/python
"$python" -m pip install --quiet --disable-pip-version-check --no-deps build/wheel/new/*.whl
# the packages of VENV by path alone: its .pth files, which lead to the source, are not read
"$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
    >"$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/dependencies.pth"
mkdir build/wheel/here && cp -r tests pyproject.toml build/wheel/here/
cd build/wheel/here
"../venv/bin/python" -c 'import tidegate, tidegate.native as n; print(tidegate.__file__, n.reason())'
if [ $# -eq 0 ]; then set -- tests/native tests/nn tests/theory tests/text tests/runtime; fi
"../venv/bin/python" -m pytest -q "$@"
