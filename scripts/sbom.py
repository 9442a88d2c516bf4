#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the bill of materials of a build: an SPDX 2.3 document, in JSON.

sbom.py OUTPUT --version VERSION --date SECONDS --contact ADDRESS [--cc CC] [--objdump OBJDUMP] [--modules NAMES] FILE...

Each FILE, a program, a library (.la) or a plugin (.la) of the build folder, is a package of the document, and so is each
library that one of them needs, as the linker wrote it. A library's version is pkg-config's word for that of NAMES it
belongs to, or else the distribution's; where dpkg knows the library, its package is named, too. There are no checksums of
files, since whoever packages them strips them afterwards. The same build gives the same bytes.
"""

import argparse
import datetime
import functools
import json
import os
import re
import shutil
import subprocess
import urllib.parse
import uuid

OUR_LICENCE = "Apache-2.0"
# As their sources say; of others nothing is asserted.
LICENCES = {
    "check": "LGPL-2.1-or-later", "hiredis": "BSD-3-Clause", "ini_config": "LGPL-3.0-or-later", "json-c": "MIT",
    "libcurl": "curl", "libltdl": "LGPL-2.0-or-later", "libmosquitto": "EPL-2.0 OR BSD-3-Clause", "libnats": "Apache-2.0",
    "libpq": "PostgreSQL", "librabbitmq": "MIT", "libsubunit": "Apache-2.0 OR BSD-3-Clause",
    "libsystemd": "LGPL-2.1-or-later", "rdkafka": "BSD-2-Clause", "sqlite3": "blessing",
    "uuid": "BSD-3-Clause",
}


def said(*command):
    """What a command prints; "" if it fails or is not there."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False,
                              env=dict(os.environ, LC_ALL="C"))
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def spdx_id(name):
    return "SPDXRef-Package-" + re.sub(r"[^A-Za-z0-9.-]", "-", name)


def built(path):
    """The file that libtool made for a name of the build."""
    folder, name = os.path.split(path)
    for real in (os.path.join(folder, ".libs", name.replace(".la", ".so")), os.path.join(folder, ".libs", name), path):
        if os.path.isfile(real) and not real.endswith(".la"):
            return real
    raise SystemExit("sbom: %s is not built" % path)


class System:
    """What this machine knows of libraries."""

    def __init__(self, cc, objdump, modules):
        self.cc = cc.split()
        self.objdump = objdump
        # "libsqlite3": "sqlite3". What comes after the first is what the module itself needs; openssl is two libraries.
        self.modules = {}
        for module in modules:
            flags = said("pkg-config", "--libs-only-l", module).split()
            for flag in flags if module == "openssl" else flags[:1]:
                self.modules.setdefault("lib" + flag[2:], module)
        release = {}
        if os.path.exists("/etc/os-release"):
            with open("/etc/os-release", encoding="utf-8") as f:
                release = dict(line.rstrip().replace('"', "").split("=", 1) for line in f if "=" in line)
        self.distribution = release.get("ID", "debian")
        self.release = release.get("VERSION_ID", "")

    def needed(self, file):
        """The sonames that a program or library asks for."""
        lines = said(self.objdump, "-p", file)
        if not lines:
            raise SystemExit("sbom: %s cannot read %s" % (self.objdump, file))
        return re.findall(r"^ *NEEDED +(\S+)$", lines, re.MULTILINE)

    def module(self, soname):
        return self.modules.get(soname.split(".so")[0])

    @functools.lru_cache(maxsize=None)
    def dpkg(self, soname):
        """(package, version, architecture) of the distribution; None: there is no dpkg, or it does not know."""
        path = os.path.realpath(said(*self.cc, "-print-file-name=" + soname))
        if not shutil.which("dpkg-query") or not os.path.isabs(path):
            return None
        for name in (path, path.replace("/usr/lib", "/lib", 1)):
            owner = said("dpkg-query", "-S", name).split(": ")[0].split(",")[0]
            if owner:
                return tuple(said("dpkg-query", "-W", "-f", "${Package} ${Version} ${Architecture}", owner).split())
        return None

    def version(self, soname):
        module, dpkg = self.module(soname), self.dpkg(soname)
        if module:
            return said("pkg-config", "--modversion", module)
        if dpkg:  # without epoch and revision
            return re.sub(r"^\d+:|-[^-]*$", "", dpkg[1])
        if re.match(r"(libc|libm|ld-linux.*)\.so\.", soname):
            return os.confstr("CS_GNU_LIBC_VERSION").split()[-1]
        # libltdl.so.7 -> libltdl.so.7.3.1
        return os.path.realpath(said(*self.cc, "-print-file-name=" + soname)).partition(".so.")[2] or "unknown"


def purl(where, name, version, qualifiers=""):
    return {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
            "referenceLocator": "pkg:%s/%s@%s%s" % (where, name, urllib.parse.quote(version, safe=""), qualifiers)}


def own_package(name, version, contact):
    return {
        "SPDXID": spdx_id(name), "name": name, "versionInfo": version,
        "primaryPackagePurpose": "APPLICATION" if name in ("outboxd", "outbox-conform") else "LIBRARY",
        "supplier": "Organization: outboxd maintainers (%s)" % contact, "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False, "licenseConcluded": OUR_LICENCE, "licenseDeclared": OUR_LICENCE, "copyrightText": "NOASSERTION",
        "externalRefs": [purl("generic", name, version)],
    }


def foreign_package(key, name, version, declared):
    return {
        "SPDXID": spdx_id(key), "name": name, "versionInfo": version, "primaryPackagePurpose": "LIBRARY", "supplier": "NOASSERTION",
        "downloadLocation": "NOASSERTION", "filesAnalyzed": False, "licenseConcluded": "NOASSERTION", "licenseDeclared": declared,
        "copyrightText": "NOASSERTION",
    }


def licence(module, name, version):
    if module in ("openssl", "libcrypto", "libssl"):
        return "OpenSSL" if version.startswith("1.") else "Apache-2.0"
    if re.match(r"(libc|libm|ld-linux.*)$", name):
        return "LGPL-2.1-or-later"
    return LICENCES.get(module) or LICENCES.get(name) or "NOASSERTION"


def library(system, soname):
    """A shared library."""
    name = soname.split(".so")[0]
    module, dpkg, version = system.module(soname), system.dpkg(soname), system.version(soname)
    package = foreign_package(soname, name, version, licence(module, name, version))
    package["packageFileName"] = soname
    if module:
        package["sourceInfo"] = "version of the module %s of pkg-config" % module
    if dpkg:
        package["supplier"] = "Organization: " + system.distribution.capitalize()
        package["comment"] = "package %s %s of the distribution" % dpkg[:2]
        package["externalRefs"] = [purl("deb/" + system.distribution, dpkg[0], dpkg[1], "?arch=%s&distro=%s-%s" % (
            dpkg[2], system.distribution, system.release))]
    return package


def archive(module):
    """A static library, of a module of pkg-config."""
    return foreign_package(module, module, said("pkg-config", "--modversion", module), licence(module, module, ""))


def relation(one, kind, other):
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def describe(system, files, version, contact):
    """The packages, and how they hang together."""
    own, libraries, relations = [], {}, []
    for file in files:
        name = re.sub(r"\.la$", "", os.path.basename(file))
        own.append(own_package(name, version, contact))
        relations.append(relation("SPDXRef-DOCUMENT", "DESCRIBES", spdx_id(name)))
        if not name.startswith("outbox"):
            relations.append(relation(spdx_id(name), "OPTIONAL_COMPONENT_OF", spdx_id("outboxd")))
        needed = system.needed(built(file))
        for soname in sorted(needed):
            if soname not in libraries:
                libraries[soname] = library(system, soname)
            relations.append(relation(spdx_id(name), "DEPENDS_ON", spdx_id(soname)))
            relations.append(relation(spdx_id(name), "DYNAMIC_LINK", spdx_id(soname)))
        # Debian has Check as an archive only, which no soname tells.
        if name == "outbox-conform" and not any(soname.startswith("libcheck") for soname in needed):
            libraries["check"] = archive("check")
            relations.append(relation(spdx_id(name), "STATIC_LINK", spdx_id("check")))
    return own + [libraries[soname] for soname in sorted(libraries)], relations


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--version", required=True)
    parser.add_argument("--date", required=True, type=int)
    parser.add_argument("--contact", required=True)
    parser.add_argument("--cc", default="cc")
    parser.add_argument("--objdump", default="objdump")
    parser.add_argument("--modules", default="")
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()

    # "libcurl >= 7.88 json-c >= 0.15", as configure.ac has them
    modules = sorted(set(re.findall(r"[A-Za-z][\w.+-]*", args.modules)))
    packages, relations = describe(System(args.cc, args.objdump, modules), args.files, args.version, args.contact)
    created = datetime.datetime.fromtimestamp(args.date, datetime.timezone.utc)
    document = {
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "outboxd-" + args.version,
        "creationInfo": {"created": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
                         "creators": ["Tool: outboxd-sbom-" + args.version, "Organization: outboxd maintainers"]},
        "packages": packages, "relationships": relations,
    }
    # Every other content has another one.
    content = json.dumps(document, sort_keys=True)
    document["documentNamespace"] = "urn:uuid:%s" % uuid.uuid5(uuid.NAMESPACE_OID, content)
    with open(args.output + ".new", "w", encoding="utf-8") as f:
        json.dump(document, f, indent=1)
        f.write("\n")
    os.replace(args.output + ".new", args.output)


if __name__ == "__main__":
    main()
