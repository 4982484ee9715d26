"""The model that loads without this package, and its files."""

import os

# If tqdm is installed, MLflow shows a progress bar for every file it fetches.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
