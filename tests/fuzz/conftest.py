"""The fixture of all files here."""

from harness import judge as judge
