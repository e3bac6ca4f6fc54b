"""From a reconstructed tomogram to labelled particles."""
