/** A small repository: path → content of each file. */
export type DemoRepository = Readonly<Record<string, string>>;

/** Subject of the commit that the `fix-bug` scenario pushes; the demo looks for it on the server. */
export const FIX_COMMIT_SUBJECT = "Fix average of an empty list and median of an even count";

/**
 * The repository the `fix-bug` scenario repairs. It has two bugs that its tests show: `average([])` divides by zero
 * and `median` of an even count is off by one. The scenario's edits replace these very lines.
 */
export const demoRepository: DemoRepository = {
  "README.md": `# calculator

Averages and medians of lists of numbers. Run the tests with \`python3 -m unittest -v\`.
`,
  "calculator.py": `"""Averages and medians of lists of numbers."""


def average(numbers):
    """The arithmetic mean; 0 for an empty list."""
    return sum(numbers) / len(numbers)


def median(numbers):
    """The middle value; the mean of the two middle values when there is an even count."""
    ordered = sorted(numbers)
    middle = len(ordered) // 2
    if len(ordered) % 2 == 1:
        return ordered[middle]
    return (ordered[middle] + ordered[middle + 1]) / 2
`,
  "test_calculator.py": `import unittest

from calculator import average, median


class AverageTest(unittest.TestCase):
    def test_of_numbers(self):
        self.assertEqual(average([1, 2, 3]), 2)

    def test_of_nothing_is_zero(self):
        self.assertEqual(average([]), 0)


class MedianTest(unittest.TestCase):
    def test_of_an_odd_count(self):
        self.assertEqual(median([3, 1, 2]), 2)

    def test_of_an_even_count(self):
        self.assertEqual(median([4, 1, 3, 2]), 2.5)


if __name__ == "__main__":
    unittest.main()
`,
};

/** The same idea for hands without git and python: a shell script and its test, run by bash alone. */
export const demoShellRepository: DemoRepository = {
  "README.md": `# calculator

The average of whole numbers, in shell. Run the test with \`bash test.sh\`.
`,
  "average.sh": `# Prints the average of its arguments, rounded down; 0 without arguments.
sum=0
for number in "$@"; do
  sum=$((sum + number))
done
echo $((sum / $#))
`,
  "test.sh": `failed=0
check() {
  expected=$1
  shift
  actual=$(bash average.sh "$@" 2>&1)
  if [ "$actual" = "$expected" ]; then
    echo "ok: average of ($*) is $expected"
  else
    echo "FAILED: average of ($*) is $actual, expected $expected"
    failed=1
  fi
}
check 2 1 2 3
check 0
if [ "$failed" = 0 ]; then echo "ALL TESTS PASS"; else echo "SOME TESTS FAIL"; fi
exit $failed
`,
};
