# SPDX-License-Identifier: Apache-2.0
"""The bill of materials that is installed: it is held against what the loader, the libraries and dpkg say."""

import ctypes
import datetime
import glob
import json
import os
import re
import shutil
import subprocess

import outbox_test

STAGE = os.path.join(outbox_test.BUILDDIR, "stage")


def text(function):
    """Of a function of a library that returns its version as a text."""
    function.restype = ctypes.c_char_p
    return function().decode()


def number(function, *divisors):
    """Of one that returns a number, such as 150018 for 15.18."""
    value = function()
    return ".".join(str(value // divisor % modulus if modulus else value // divisor) for divisor, modulus in divisors)


# How a library itself says which version it is.
SAYS = {
    "libcurl": lambda it: re.match(r"libcurl/(\S+)", text(it.curl_version)).group(1),
    "libjson-c": lambda it: text(it.json_c_version),
    "libnats": lambda it: text(it.nats_GetVersion),
    "libpq": lambda it: number(it.PQlibVersion, (10000, None), (1, 10000)),
    "librabbitmq": lambda it: text(it.amqp_version),
    "librdkafka": lambda it: text(it.rd_kafka_version_str),
    "libsqlite3": lambda it: text(it.sqlite3_libversion),
    "libc": lambda it: text(it.gnu_get_libc_version),
}


def needed(path):
    out = subprocess.run(["readelf", "-d", path], check=True, capture_output=True, text=True).stdout
    return set(re.findall(r"\(NEEDED\).*\[(.*)\]", out))


class Sbom(outbox_test.Scratch):
    def setUp(self):
        super().setUp()
        path = glob.glob(os.path.join(STAGE, "**", "outboxd.spdx.json"), recursive=True)
        self.assertEqual(len(path), 1, "it is installed, once")
        with open(path[0], encoding="utf-8") as f:
            self.document = json.load(f)
        self.packages = {package["SPDXID"]: package for package in self.document["packages"]}
        # what is installed, by its name
        self.installed = {os.path.basename(outbox_test.PROGRAM): outbox_test.PROGRAM}
        for module in glob.glob(os.path.join(outbox_test.PLUGIN_DIR, "*.so")):
            self.installed[os.path.basename(module)[:-len(".so")]] = module
        self.installed["liboutbox"] = glob.glob(os.path.join(STAGE, "**", "liboutbox.so"), recursive=True)[0]
        conform = os.path.join(os.path.dirname(outbox_test.PROGRAM), "outbox-conform")
        if os.path.exists(conform):
            self.installed["outbox-conform"] = conform

    def related(self, one, kind):
        """The packages to which a package has a relation."""
        return [self.packages[relation["relatedSpdxElement"]] for relation in self.document["relationships"]
                if relation["spdxElementId"] == one and relation["relationshipType"] == kind]

    def linked(self):
        """Every library of the document."""
        return [package for package in self.packages.values() if "packageFileName" in package]

    def test_it_has_what_spdx_2_3_asks_for(self):
        self.assertEqual(self.document["spdxVersion"], "SPDX-2.3")
        self.assertEqual(self.document["dataLicense"], "CC0-1.0")
        self.assertEqual(self.document["SPDXID"], "SPDXRef-DOCUMENT")
        self.assertRegex(self.document["documentNamespace"], r"^[a-z]+:[^#]+$")
        self.assertRegex(self.document["creationInfo"]["created"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertTrue(self.document["creationInfo"]["creators"])
        self.assertEqual(len(self.packages), len(self.document["packages"]), "no id comes twice")
        for package in self.packages.values():
            self.assertRegex(package["SPDXID"], r"^SPDXRef-[A-Za-z0-9.-]+$")
            self.assertIs(package["filesAnalyzed"], False)
            for field in ("name", "downloadLocation", "licenseConcluded", "licenseDeclared", "versionInfo", "supplier"):
                self.assertTrue(package[field], "%s of %s" % (field, package["SPDXID"]))

    def test_every_relation_is_one_of_packages_that_are_there(self):
        for relation in self.document["relationships"]:
            self.assertIn(relation["spdxElementId"], set(self.packages) | {"SPDXRef-DOCUMENT"})
            self.assertIn(relation["relatedSpdxElement"], self.packages)
        used = {relation["relatedSpdxElement"] for relation in self.document["relationships"]}
        self.assertEqual(used | {"SPDXRef-Package-outboxd"}, set(self.packages), "and no package is without")

    def test_what_is_installed_is_described_and_nothing_else(self):
        described = self.related("SPDXRef-DOCUMENT", "DESCRIBES")
        self.assertEqual(sorted(package["name"] for package in described), sorted(self.installed))
        with open(os.path.join(outbox_test.BUILDDIR, "config.h"), encoding="ascii") as f:
            version = re.search(r'^#define PACKAGE_VERSION "(.*)"', f.read(), re.MULTILINE).group(1)
        self.assertEqual({package["versionInfo"] for package in described}, {version})
        self.assertEqual({package["licenseDeclared"] for package in described}, {"Apache-2.0"})

    def test_the_libraries_are_those_that_the_loader_will_want(self):
        for name, path in self.installed.items():
            for kind in ("DYNAMIC_LINK", "DEPENDS_ON"):
                libraries = self.related("SPDXRef-Package-" + name, kind)
                self.assertEqual({library["packageFileName"] for library in libraries}, needed(path), name)

    def test_versions_are_what_the_libraries_themselves_say(self):
        checked = 0
        for library in self.linked():
            if library["name"] in SAYS:
                said = SAYS[library["name"]](ctypes.CDLL(library["packageFileName"]))
                self.assertEqual(library["versionInfo"], said, library["name"])
                checked += 1
        self.assertGreaterEqual(checked, 3)  # glibc's, json-c's and SQLite's, which every build that has scenarios links

    def test_packages_are_those_that_dpkg_knows(self):
        if not shutil.which("dpkg-query"):
            self.skipTest("dpkg-query is missing; this is no Debian")
        for library in self.linked():
            locator = library["externalRefs"][0]["referenceLocator"]
            purl = re.match(r"^pkg:deb/[a-z]+/([^@]+)@[^?+:]+\?arch=([^&]+)&distro=\S+$", locator)
            self.assertTrue(purl, locator)
            files = subprocess.run(["dpkg-query", "-L", "%s:%s" % purl.groups()], check=True, capture_output=True, text=True).stdout
            self.assertIn("/%s\n" % library["packageFileName"], files)

    def test_the_same_build_gives_the_same_document(self):
        created = datetime.datetime.strptime(self.document["creationInfo"]["created"], "%Y-%m-%dT%H:%M:%S%z")
        date = int(created.timestamp())
        for zone, epoch in (("UTC", date), ("Asia/Tokyo", date), ("UTC", 1000000000)):
            path = self.path("again.json")
            environment = dict(os.environ, TZ=zone, SOURCE_DATE_EPOCH=str(epoch))
            environment.pop("MAKEFLAGS", None)  # of a make check whose jobs these are not
            subprocess.run(["make", "-s", "-C", outbox_test.BUILDDIR, "sbom", "SBOM=" + path], env=environment, check=True,
                           capture_output=True)
            with open(path, encoding="utf-8") as f:
                again = json.load(f)
            if epoch == date:
                self.assertEqual(again, self.document)
            else:
                self.assertEqual(again["creationInfo"]["created"], "2001-09-09T01:46:40Z")
                self.assertNotEqual(again["documentNamespace"], self.document["documentNamespace"])


if __name__ == "__main__":
    outbox_test.main()
